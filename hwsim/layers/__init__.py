"""What does a layer, or a whole model, cost on an accelerator built from our tiles?"""

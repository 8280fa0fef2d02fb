"""What is in a user's tensor file, and what does a format do to it?"""

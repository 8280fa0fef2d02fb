"""What do other programs and real silicon say?"""

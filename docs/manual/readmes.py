"""stub"""
def connect(app): pass

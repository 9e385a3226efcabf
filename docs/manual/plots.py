"""stub"""
def write_plots(folder): pass

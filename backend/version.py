"""The version of the package: files of networks name it, too."""

__version__ = "0.1.0"

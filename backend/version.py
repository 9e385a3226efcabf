"""The version of the package: files of networks name it, too."""

__version__ = "0.2.0"

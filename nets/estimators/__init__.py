"""The networks as scikit-learn's estimators."""

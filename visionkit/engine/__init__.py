"""Training, evaluation and prediction over any network, codec, criterion and data set."""

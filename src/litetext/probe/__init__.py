"""What needs both a segmenter and a study or a loss: text features judged by the detector that reads them."""

"""File formats of annotations and predictions, one module each; all read and write `ImageAnnotations`."""

"""The embedded model for photographs: its words, its training scenes made of cut-outs, and how it is trained."""

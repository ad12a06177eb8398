"""The small world on which a small SAM3 really works: its art, scenes and phrases, and how `mini` is trained."""

"""Reports as HTML pages that need nothing else: charts as values, drawn as SVG and PNG, and one set of templates."""

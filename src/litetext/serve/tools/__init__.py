"""The protocols of annotation tools, each a module: routes in the tool's own words over the same server."""

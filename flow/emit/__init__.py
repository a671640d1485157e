"""From a model file to a build directory: lowering, templates, data files, reports."""

"""The doors: the only places with raw calls to the world outside.

Files are written (`files`), models are opened (`models`, `pipelines`), foreign text is shown (`screen`). Requests go out through the
providers of Inspect AI; a door of our own comes with the first piece that sends one itself.
"""

"""Published and measured figures that ship with the package; README.md says where from."""

"""What every room uses: errors, files, parameters, resuming, a stage's frame, endpoints, safe text."""

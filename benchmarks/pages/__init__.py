"""What the pages for a browser take, in a real Chromium: `make bench-pages`."""

"""Who asks, and what each path needs: before any handler runs, and for what only a handler knows."""

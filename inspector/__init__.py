"""THE WINDOW: reads everything, writes only when told to."""

"""Named models: what was decided about them, and the proof that nothing of it was changed."""

"""Where photos come from: procedural portraits, and the folders of users."""

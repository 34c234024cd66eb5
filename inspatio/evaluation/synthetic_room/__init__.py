"""A ray-cast room with moving things: the example clip, and its true views and depth from anywhere."""

"""How near results come to the truth: measures of images, depth, cameras and flicker, and scenes that know it."""

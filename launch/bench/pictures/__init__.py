"""The pictures of the loader's benchmark: JPEGs of some 500 x 375 pixels, of noise or cut from photographs."""

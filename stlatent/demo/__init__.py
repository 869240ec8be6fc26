"""A page to play with: what each level of a clip, a picture or a shape holds."""

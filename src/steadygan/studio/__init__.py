"""Watch, understand, steer and play with GANs in a browser: `steadygan studio runs/`.

A server reads run directories (`runs/`) and never imports training. Images are made in a child process (`worker`), so
that neither a broken checkpoint nor a large network can take the server with it.
"""

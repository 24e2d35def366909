"""Watch, understand, steer and play with GANs in a browser: `steadygan studio runs/`.

The server reads run directories (`runs/`) and never imports training. A child process (`worker`) generates images, so
that neither a broken checkpoint nor a large network can crash the server.
"""

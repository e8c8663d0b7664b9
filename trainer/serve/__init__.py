"""Published models, asked over HTTP: one program for Ray Serve. `wire` is what crosses to it; torch comes in where a replica starts.

wire      what is asked, and the headers that come along; torch-free, the control plane imports it, too
"""

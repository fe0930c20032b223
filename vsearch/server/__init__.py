"""The HTTP server: one :class:`vsearch.Index`, the API under ``/api/v1``, and the page.

Needs the ``server`` extra.  Start with :func:`vsearch.server.running.serve`, or take
:func:`vsearch.server.app.create_app` to another ASGI server.
"""

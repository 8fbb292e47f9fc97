"""The agent: runs on a server, enrols it, renews its lease, reports what it knows of it, and drains it at the end.

It talks to the controller by REST alone, and needs neither OS-Ken nor eventlet nor root.
"""

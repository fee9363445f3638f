"""What can be read at the server's port beside the XML-RPC methods."""

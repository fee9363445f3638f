"""Sensors: what is installed, and running one of them within its bounds."""

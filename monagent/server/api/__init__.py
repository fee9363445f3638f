"""The JSON API: what programs may ask about the fleet. It only reads."""

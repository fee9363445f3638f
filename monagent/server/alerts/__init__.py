"""From readings to what people are told: levels, incidents, what holds telling back, notifications and who carries them."""

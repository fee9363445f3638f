"""Quality reports: how well each check went in a day, a week or a month, from the sums that are kept of its readings.

periods, quality (rules) ← sums (rows) → view (what a mail shows); jobs puts reports into the outbox in time
"""

"""Webhooks by Standard Webhooks 1.0 (standardwebhooks.com): what happens to runs is posted where somebody wants to know it.

    tape ──gather──► deliveries ──claim, send, record──► receiver
      `gather`          rows          `dispatcher`

The tape (`service.runs.tape`) has what happened in one order. Each webhook has a place on it; what stands behind that place and is
wanted becomes a row of `webhook_deliveries` in the transaction that moves the place on, so nothing is left out or made twice. A row is
sent by whoever has taken it, which a number (its fence) proves; one whose sender has died is due again when its time is over. So every
message arrives at least once, with the same `webhook-id` each time; in which order is not promised.
"""

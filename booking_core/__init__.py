"""The booking service: slots, quotas, holds, refusals with reasons, and the plans that retune them."""

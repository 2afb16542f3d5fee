"""HTTP: routes, tokens, problems; no rule of booking lives here."""

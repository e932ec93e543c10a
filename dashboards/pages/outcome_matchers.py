"""How requests end, as matchers of an `outcome` label: which ones a promise counts, and which of those are kept or broken."""

from calmops.messages.record import NOT_COUNTED, OUTCOMES, SUCCESSES

COUNTED = f'outcome!~"{"|".join(NOT_COUNTED)}"'
WELL = f'outcome=~"{"|".join(SUCCESSES)}"'
BADLY = f'outcome=~"{"|".join(one for one in OUTCOMES if one not in (*SUCCESSES, *NOT_COUNTED))}"'

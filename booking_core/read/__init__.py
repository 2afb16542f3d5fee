"""The one home of analytical SQL on the core's tables: typed frames for forecasts and the dashboard.

Every function takes an Engine first and reads in one short transaction, so a replica serves as well.
Frames have the same columns and dtypes whether rows were found or not: ids are `str`, times aware UTC
(`datetime64[us, UTC]`), days naive (`datetime64[us]`, the bank's own days), optional counts `Int64`.
Ranges of days include both ends; ranges of moments include `since` and exclude `until`.
`region` is the caller's region claim: given, nothing of another region is read.
"""

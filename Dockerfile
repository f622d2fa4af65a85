# One image for every role: docker run … tallyline ingest | aggregator | invoicer | migrate | start
FROM node:20.20.2-bookworm-slim AS base
WORKDIR /app

FROM base AS build
COPY package.json package-lock.json ./
# No scripts: `prepare` would build before there is anything to build.
RUN --mount=type=cache,target=/root/.npm npm ci --ignore-scripts
COPY tsconfig.json tsconfig.build.json ./
COPY schemas ./schemas
COPY ingest ./ingest
COPY aggregator ./aggregator
COPY invoicer ./invoicer
COPY ops ./ops
# What is left of schemas is what the product reads while it runs: SQL and Avro.
RUN npm run build && find schemas -name '*.ts' -delete

FROM base
ENV NODE_ENV=production HOST=0.0.0.0 PORT=8081
COPY package.json package-lock.json ./
# The embedded stores are the optional packages, 0.6 GB: here the stores are servers.
RUN --mount=type=cache,target=/root/.npm npm ci --omit=dev --omit=optional --ignore-scripts
COPY --from=build /app/dist ./dist
COPY --from=build /app/schemas ./schemas
# The user `node`, by number: Kubernetes cannot tell that a name is not root's. Nothing here is writable to it.
USER 1000:1000
EXPOSE 8081
STOPSIGNAL SIGTERM
# `migrate` serves nothing and ends by itself before this counts.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["node", "-e", "fetch('http://127.0.0.1:' + process.env.PORT + '/healthz').then(({ ok }) => process.exit(Number(!ok)))"]
ENTRYPOINT ["node", "dist/ops/cli/tallyline.js"]

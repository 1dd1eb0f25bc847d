# The gateway as an image: `docker build --tag messages-gateway .`
# It runs as nobody in particular, and writes nothing: a read-only root file system is all it needs.

FROM python:3.13-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY gateway gateway
# Compiled here, since nothing can be written later.
RUN python -m venv /gateway \
 && /gateway/bin/pip install --no-cache-dir --compile '.[sharing]' \
 && /gateway/bin/pip uninstall --yes pip

FROM python:3.13-slim
COPY --from=build /gateway /gateway
ENV PATH=/gateway/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
# A number, so that Kubernetes sees that it is not root.
USER 10001:10001
WORKDIR /
EXPOSE 8045
STOPSIGNAL SIGTERM
# Port, TLS and key are those of the configuration.
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s --retries=3 \
  CMD ["gateway", "status", "--quiet"]
ENTRYPOINT ["gateway"]
# The configuration is /etc/gateway/gateway.toml. Whoever is outside the container reaches it only where it listens on
# all addresses, and then a key is asked for.
CMD ["serve", "--host", "0.0.0.0"]

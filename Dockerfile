# One small image for the four services of examples/order_service and their load generator.
FROM python:3.11-slim AS build
WORKDIR /build
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY src src
COPY resilience resilience
COPY tracing tracing
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.11-slim
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir "$(ls /wheels/handrail-*.whl)[demo]" \
    && useradd --system --uid 10002 --no-create-home app \
    && install --directory --owner=app /data
WORKDIR /srv
COPY examples examples
USER app
ENV DATA_DIR=/data
EXPOSE 8000
CMD ["uvicorn", "examples.order_service.order:served", "--host", "0.0.0.0", "--port", "8000"]

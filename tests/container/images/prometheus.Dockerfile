# Stands in for prom/prometheus, which no registry gives us here.
#
# Real: Prometheus itself, as Debian builds it, at the place where prom/prometheus has it;
# its user nobody, its folders, its entrypoint.
# Not real: a Debian root below it instead of busybox, no promtool, no web page (Debian
# leaves it out: port 9090 answers its API alone), our own licence in place of its files.
ARG ROOT
FROM ${ROOT}
COPY bin/prometheus /bin/prometheus
COPY LICENSE NOTICE /
RUN mkdir --parents /etc/prometheus /prometheus && chown nobody:nogroup /prometheus
USER 65534
WORKDIR /prometheus
VOLUME /prometheus
EXPOSE 9090
ENTRYPOINT ["/bin/prometheus"]
CMD ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]

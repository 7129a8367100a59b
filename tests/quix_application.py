"""A Quix Streams application as users write it, on the broker that librdkafka has for tests.

    python tests/quix_application.py ADDRESS FOLDER

serves `test_integrations_quix`. It reads the topic `lines` for ever and writes to the topic `scored`. The broker knows
neither how to create topics nor how to describe them: a topic begins when its name is looked up.
"""

import sys

from quixstreams import Application
from quixstreams.models.topics import TopicAdmin, TopicConfig, TopicManager

from streamlstm import Config, StreamPredictor
from streamlstm.integrations.quix import StreamSurprisal

GROUP = "surprisal"


def model():
    return StreamPredictor(config=Config(hidden=12, layers=1, memory_bits=12))


class Topics(TopicAdmin):
    def inspect_topics(self, topic_names, timeout=30):
        found = {name: self.admin_client.list_topics(name, timeout).topics[name] for name in topic_names}
        return {name: TopicConfig(len(topic.partitions), 1, {"retention.ms": "-1"}) for name, topic in found.items()}


def main(address, folder):
    app = Application(
        broker_address=address,
        consumer_group=GROUP,
        auto_offset_reset="earliest",
        commit_interval=1000.0,
        commit_every=20,
        state_dir=folder,
        topic_manager=TopicManager(Topics(address), GROUP),
        consumer_extra_config={"session.timeout.ms": 6000, "heartbeat.interval.ms": 500},
    )
    messages = app.dataframe(app.topic("lines", key_deserializer="str"))
    messages = messages.apply(StreamSurprisal(on="line", predictor=model()), stateful=True)
    messages.to_topic(app.topic("scored", key_serializer="str"))
    app.run()


if __name__ == "__main__":
    main(*sys.argv[1:])

"""The page: draw boxes on a picture and talk about them. Uses `gpt4roi.chat`, `gpt4roi.boxes` and `gpt4roi.conversation`, nothing deeper."""

"""Whether new pictures still look like those the model was made with."""
